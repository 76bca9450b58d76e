"""Whose copy a published sample is: its values to persons, persons to a verdict, versions to a date."""

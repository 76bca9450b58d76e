"""Measures of Strongroom beside what a user would pick instead, in one run on the same made-up persons."""

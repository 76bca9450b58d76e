"""A published sample of any form, read into columns that the room's look-ups understand."""

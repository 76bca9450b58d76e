"""What a record may hold, and whom it is about: types, classes, normalising, packing.

Parsing a schema, packing and unpacking one cell and normalising one value need neither pyarrow nor numba:
they are imported where columns are worked on.
"""

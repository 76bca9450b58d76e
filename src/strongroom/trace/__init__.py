"""Whose copy leaked: exports with their marks, and what a published sample proves of them, and to whom.

`export` writes files, `marks` says what is mixed into them. `code` decides sizes and members of canaries; `evidence`
weighs those found in a sample; `opening` shows one export's part of it to a court, and nothing of the others.
"""

"""Whose copy leaked: which canaries are in which export, what a published sample proves of it, and to whom.

`code` decides sizes and members; `evidence` weighs the canaries found in a sample; `opening` shows one export's
part of it to a court, and nothing of the others.
"""

"""Whose copy leaked: exports with their marks, and what a published sample proves of them, and to whom.

`exporting` writes files, `canary` makes persons who do not exist, `leak` reads a sample; what canaries found in one
prove is in `strongroom.evidence`.
"""

"""A report for the regulator, and drafts of the notices that the law asks for, from the facts that a trace found.

`facts` holds what was found and can be archived; `words` what only the operator knows. `regulator` and `drafts` make
pages of both. It knows no room and no keymaster.
"""

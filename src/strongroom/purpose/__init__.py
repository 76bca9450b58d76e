"""Who may read which fields, and why: policy, decisions and the arithmetic of budgets.

Nothing here does input or output, and nothing asks the time: the keymaster passes both in.

`policy` reads `policy.toml`; `model` holds what it says; `cedar` decides; `budget` counts; `explain` tells
why.
"""

"""Every key of a room, wrapped: root slots, the epoch key, and pages of one secret per person.

`slots` opens the epoch key; `hierarchy` wraps what lies below it; `pages` is the format of a key page;
`keystore` finds and adds persons. Nothing here decides who may have a key: that is the keymaster's.
"""

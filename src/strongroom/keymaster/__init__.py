"""Decide, spend, note, release: keys of persons go out one request at a time, and never before they are noted.

`api` is the interface that rooms see; `create` makes and opens an embedded keymaster, which lives in the caller's
process and binds honest software only. Nothing here knows how records lie in the bucket.
"""

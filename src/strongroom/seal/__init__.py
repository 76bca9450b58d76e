"""Seals and opens bytes: cells, tokens, blocks, wrapped keys, signatures.

Rules this folder keeps:

1. Keys and bytes go in, bytes and numpy arrays come out: nothing here reads a file, a clock or a setting.
2. Only `_hazmat` imports a cipher; everything is a published construction, used as published.
3. What does not authenticate is never given out: one value raises IntegrityError, a column marks its bad rows
   and zeroes them.
4. Nonces are not chosen here. Callers pass row ordinals and block numbers, and a key that is minted once for them.

It leaves to others which key belongs to whom (`keys`, `keymaster`) and what the bytes mean (`schema`, `index`).
"""

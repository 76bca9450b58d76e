"""Tables that the schema tests share."""

import os

from strongroom.schema.parse import parse_schema

EVERY_TYPE = """
[classes.medical]
sensitive = true

[tables.persons]
subject = "id"
records = "one"

[tables.persons.fields]
id      = { type = "string", class = "identity", normalise = ["trim", "upper"] }
name    = { type = "string", class = "identity", mask = "first1" }
number  = { type = "int", class = "identity" }
ratio   = { type = "float", class = "identity" }
flag    = { type = "bool", class = "identity" }
day     = { type = "date", class = "identity", mask = "year" }
moment  = { type = "timestamp", class = "identity" }
blob    = { type = "binary", class = "identity" }
mobile  = { type = "string", class = "contact", find = true, normalise = ["phone:CN"], mask = "last4" }
note    = { type = "string", class = "sensitive" }
code    = { type = "int", class = "medical" }
born    = { type = "int", class = "open" }
school  = { type = "string", class = "open", reason = "few values, nobody is singled out" }
"""


def every_type():
    """A schema with a field of every type and a class of every kind."""
    return parse_schema(EVERY_TYPE, None, os.urandom)

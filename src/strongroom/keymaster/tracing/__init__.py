"""A published sample at the keymaster: values to persons, persons to a verdict about exports."""

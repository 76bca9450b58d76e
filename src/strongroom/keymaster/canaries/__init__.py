"""Canary persons at the keymaster: who is one, what is asked about them, and the alarm when one is read."""

"""Keeps named, write-once objects of bytes: in a folder or in memory."""

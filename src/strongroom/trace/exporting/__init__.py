"""Records into files for a recipient: chosen, released, marked, shown as the purpose says, whole or not there."""

"""What the words mean: values and pure rules. No module here waits, opens, or asks for the time."""

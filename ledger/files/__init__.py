"""Files in and files out: items, answers, rejects."""

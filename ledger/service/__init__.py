"""The Message Batches API: the real one through the official SDK, and an honest simulator of it."""

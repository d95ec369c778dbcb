"""An honest simulator of the Message Batches API."""

"""A crash-safe, event-sourced runner for Claude's Message Batches API."""

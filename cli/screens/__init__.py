"""What is shown to people: values in, text out."""

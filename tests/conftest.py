"""Its place makes what the tests share (``running``) importable from every directory below."""

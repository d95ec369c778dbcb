"""One self-contained HTML page about a run: figures from the state and the log, drawn as SVG, nothing loaded."""

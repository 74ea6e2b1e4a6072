"""One module per family of goals: `measure(stage, scale)` gives the family's results."""

"""What the parts of the page show, as values that a template need only write down."""

"""What can be seen of a training while it runs: on the terminal, as a page, in a tracker."""

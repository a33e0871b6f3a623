"""What people read: the event log, figures and the HTML page."""

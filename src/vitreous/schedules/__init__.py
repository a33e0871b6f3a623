"""What each kind of search does when."""

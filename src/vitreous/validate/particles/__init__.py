"""What particle images say of themselves."""

"""``vitreous serve``: a project in the browser of the machine that it lies on."""

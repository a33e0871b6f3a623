"""Tools on maps: filters, grids, masks, decoys, fitting, correlation, headers."""

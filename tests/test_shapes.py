"""That shapes in annotations are checked."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from vitreous.imaging.masks import mask_in_box
from vitreous.validate.fsc import correlation


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(TypeCheckError, match="mask"):
        mask_in_box(torch.ones(4, 4, 6), 8)
    with pytest.raises(TypeCheckError, match="power_a"):
        correlation(torch.ones(3), torch.ones(4), torch.ones(3))

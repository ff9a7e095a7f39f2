"""BibTeX on request, and nothing made up."""

import pytest

import gfsim


@pytest.mark.parametrize("text", ["2403.08121", "rkc"])
def test_citations_of_works(text):
    assert gfsim.citation(text).startswith("@")


def test_unknown_works_are_refused():
    with pytest.raises(ValueError, match=r"work must be an arXiv number or one of .*, was 'euler'"):
        gfsim.citation("euler")

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer

from features.errors import ConfigurationError, DataError
from serving.sources.histories import Histories
from training.sources.content import ContentSettings, fit_content
from training.sources.terms import terms_of

RNG = np.random.default_rng(8)
TOKENS = [[f"w{word}" for word in RNG.integers(0, 12, RNG.integers(0, 6))] for _ in range(20)]


def test_the_scores_are_cosines_of_tf_idf_as_a_second_library_has_them():
    source = fit_content(20, TOKENS, ContentSettings(most_share=1.0))
    terms, _ = terms_of(TOKENS)
    # its idf is log(n / df) + 1
    idf = TfidfTransformer(smooth_idf=False).fit(terms).idf_ - 1.0
    vectors = terms.toarray() * idf
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(length > 0, length, 1.0)
    histories = Histories.of_lists([[item] for item in range(20)], 20)
    found = source.scores(histories, np.tile(np.arange(20), (20, 1)))
    np.testing.assert_allclose(np.nan_to_num(found), vectors @ vectors.T, atol=1e-5)


def test_an_item_that_nobody_has_bought_is_proposed_by_its_words():
    tokens = [["tea", "green"], ["tea", "black"], ["wine"], ["wine", "red"], ["tea", "green"]]
    source = fit_content(5, tokens, ContentSettings(most_share=1.0))
    found = source.propose(Histories.of_lists([[0], [2]], 5), 3).places
    assert found.tolist() == [[0, 4, 1], [2, 3, -1]]


def test_words_of_most_items_and_items_of_no_words_lead_nowhere():
    tokens = [["shop", "cup"], ["shop", "cup"], ["shop"], ["shop"], []]
    source = fit_content(5, tokens, ContentSettings(most_share=0.5))
    found = source.propose(Histories.of_lists([[0], [2], [4]], 5), 3).places
    assert found.tolist() == [[0, 1, -1], [-1, -1, -1], [-1, -1, -1]]


def test_words_of_another_number_of_items_and_shares_out_of_range_are_refused():
    with pytest.raises(DataError, match="words of 2 items"):
        fit_content(3, [["a"], ["b"]], ContentSettings())
    with pytest.raises(ConfigurationError, match="most_share"):
        ContentSettings(most_share=1.5)
    assert fit_content(0, [], ContentSettings()).n_items == 0

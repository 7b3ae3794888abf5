# SPDX-License-Identifier: Apache-2.0
import pytest

from quern.importer.dims import Dim, Fitter, Frozen, combine, literal, product, real_text

# Four traces: as published, then with batch, width and both changed.
BATCH = Dim("batch", (16, 32, 16, 24))
WIDTH = Dim("width", (16, 16, 48, 40))


@pytest.fixture
def fitter():
    return Fitter([BATCH, WIDTH], 4)


@pytest.mark.parametrize(("values", "text"), [
    ((16, 32, 16, 24), "batch"),
    ((16, 16, 48, 40), "width"),
    ((7, 7, 7, 7), "7"),
    ((32, 64, 32, 48), "batch * 2"),
    ((4, 8, 4, 6), "batch / 4"),
    ((14, 14, 46, 38), "width - 2"),
    ((256, 512, 768, 960), "batch * width"),
    ((32, 48, 64, 64), "batch + width"),
    ((49, 49, 145, 121), "width * 3 + 1"),
])
def test_a_number_gets_the_expression_that_holds_in_every_trace(fitter, values, text):
    assert fitter.fit(values, "an extent").text == text


def test_equal_published_values_are_told_apart_by_the_traces(fitter):
    assert fitter.fit((16, 32, 16, 24), "x").text != fitter.fit((16, 16, 48, 40), "x").text


def test_a_number_without_an_expression_is_refused_with_its_values(fitter):
    with pytest.raises(Frozen) as refused:
        fitter.fit((3, 17, 91, 4), "an odd number")
    assert refused.value.values == (3, 17, 91, 4)


def test_a_scale_made_from_an_extent_is_recognised(fitter):
    seen = [v ** -0.5 for v in WIDTH.values]
    assert fitter.number(seen, "a scale") == "(1 / sqrt(width))"


def test_constants_fold():
    three = literal(3, 4)
    assert combine("-", combine("+", WIDTH, three), literal(3, 4)).values == WIDTH.values
    assert combine("*", three, three).text == "9"
    assert combine("/", BATCH, BATCH).text == "1"
    assert product([literal(2, 4), BATCH, literal(3, 4)], 4).text == "batch * 6"


@pytest.mark.parametrize(("value", "text"), [
    (2.0, "2"), (0.5, "0.5"), (-1.0, "(-1)"), (1e-5, "1e-05"), (float("inf"), "inf"),
    (float("-inf"), "(-inf)")])
def test_numbers_are_written_as_the_language_reads_them(value, text):
    assert real_text(value) == text

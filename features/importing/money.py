"""Amounts as shops write them (decimal text, floats) to integer minor units, exactly.

A price is first read to six decimal places (millionths of the major unit) as int64, multiplied by whole pieces, and
only then rounded, half to even, to the currency's minor unit. No step is done in binary floating point.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.validation import Findings

__all__ = ["EXPONENTS", "exponents_of", "millionths", "to_minor", "whole_numbers"]

_OTHER_EXPONENTS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_TWO_DECIMALS = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP "
    "CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES "
    "KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK "
    "NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB "
    "TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG"
)
EXPONENTS: dict[str, int] = {
    **dict.fromkeys(_TWO_DECIMALS.split(), 2),
    **{code: exponent for exponent, codes in _OTHER_EXPONENTS.items() for code in codes.split()},
}
_MILLION = 1_000_000
_LARGEST = 10**12  # major units; a millionth of it still fits int64
_DECIMAL = pa.decimal128(24, 6)

_Int = npt.NDArray[np.int64]
_Bool = npt.NDArray[np.bool_]


def millionths(column: pa.Array, field: str, findings: Findings) -> tuple[_Int, _Bool]:
    """Millionths of the major unit, int64 (0 where missing or wrong), and which rows have a number.

    Text may be any decimal notation without separators; floats are read as the nearest number of six decimals.
    Rows that hold no number, or one beyond 10**12, are marked in `findings`.
    """
    if pa.types.is_floating(column.type):
        return _from_floats(column, field, findings)
    if pa.types.is_string(column.type):
        column, there, wrong = _decimals(column)
        findings.mark(wrong, field, "is not a number")
    elif pa.types.is_integer(column.type) or pa.types.is_decimal(column.type):
        there = pc.is_valid(column).to_numpy(zero_copy_only=False)
        large = pc.greater_equal(pc.abs(column.cast(pa.float64(), safe=False)), float(_LARGEST))
        column = pc.if_else(large, None, column.cast(pa.decimal128(38, 6), safe=False)).cast(_DECIMAL)
        findings.mark(pc.fill_null(large, fill_value=False).to_numpy(zero_copy_only=False), field, _TOO_LARGE)
    else:
        there = pc.is_valid(column).to_numpy(zero_copy_only=False)
        findings.mark(there, field, "is not a number")
        return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
    values = _low_words(pc.fill_null(column, Decimal(0)))
    large_text = np.abs(_approximate(column)) >= _LARGEST
    findings.mark(large_text, field, _TOO_LARGE)
    return np.where(large_text, 0, values), there


def whole_numbers(column: pa.Array, field: str, findings: Findings) -> tuple[_Int, _Bool]:
    """Whole numbers, int64 (0 where missing or wrong), and which rows have one. "3.0" is whole, "3.5" is not."""
    if pa.types.is_integer(column.type) and column.type != pa.uint64():
        return (
            pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False),
            pc.is_valid(column).to_numpy(zero_copy_only=False),
        )
    if pa.types.is_string(column.type):
        try:
            quick = column.cast(pa.int64())
            return whole_numbers(quick, field, findings)
        except pa.ArrowInvalid:
            pass
    values, there = millionths(column, field, findings)
    broken = there & (values % _MILLION != 0)
    findings.mark(broken, field, "is not a whole number")
    return values // _MILLION, there


def to_minor(values: _Int, pieces: _Int | None, exponents: _Int, field: str, findings: Findings) -> _Int:
    """Minor units, int64, of millionths times pieces, rounded half to even at the end.

    >>> no_findings = Findings(3)
    >>> to_minor(np.array([2_675_000, 125_000, 100]), np.array([3, 1, 50]), np.array([2, 2, 2]), "a", no_findings)
    array([802,  12,   0])
    """
    if pieces is not None:
        large = np.abs(values.astype(np.float64)) * np.abs(pieces.astype(np.float64)) >= float(2**62)
        findings.mark(large, field, _TOO_LARGE)
        values = np.where(large, 0, values) * np.where(large, 0, pieces)
    divisors = np.power(10, 6 - exponents)
    whole, rest = np.divmod(np.abs(values), divisors)
    up = (2 * rest > divisors) | ((2 * rest == divisors) & (whole % 2 == 1))
    result: _Int = np.sign(values) * (whole + up)
    return result


def exponents_of(currency: pa.Array, findings: Findings) -> _Int:
    """Decimal places of each row's currency, int64; 2 and a finding where the code is not in ISO-4217."""
    encoded = currency.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    places = np.array([EXPONENTS.get(name, -1) for name in names] + [2], np.int64)
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    result = places[codes]
    findings.mark(result < 0, "currency", "is not a currency of ISO-4217")
    return np.where(result < 0, 2, result)


_TOO_LARGE = "is larger than 10**12"


def _from_floats(column: pa.Array, field: str, findings: Findings) -> tuple[_Int, _Bool]:
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    numbers = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
    unreal = ~np.isfinite(numbers)
    findings.mark(unreal, field, "is not a number")
    large = np.abs(np.where(unreal, 0.0, numbers)) >= _LARGEST
    findings.mark(large, field, _TOO_LARGE)
    return np.rint(np.where(unreal | large, 0.0, numbers) * _MILLION).astype(np.int64), there & ~unreal


def _decimals(column: pa.Array) -> tuple[pa.Array, _Bool, _Bool]:
    """Decimals of text with null where there is none, rows that have one, rows that hold something else."""
    given = pc.is_valid(column).to_numpy(zero_copy_only=False)
    try:
        return column.cast(_DECIMAL), given, np.zeros(len(column), np.bool_)
    except pa.ArrowInvalid:
        pass
    plain = pc.match_substring_regex(column, r"^[+-]?[0-9]{1,13}(\.[0-9]{1,6})?$")
    decimals = pc.if_else(plain, column, None).cast(_DECIMAL)
    odd = np.flatnonzero(given & ~pc.fill_null(plain, fill_value=False).to_numpy(zero_copy_only=False))
    wrong = np.zeros(len(column), np.bool_)
    if len(odd):
        read = [_decimal(text) for text in column.take(pa.array(odd)).to_pylist()]
        wrong[odd] = [one is None for one in read]
        fixed = np.zeros(len(column), np.bool_)
        fixed[odd] = True
        decimals = pc.replace_with_mask(decimals, pa.array(fixed), pa.array(read, _DECIMAL))
    return decimals, given & ~wrong, wrong


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    if abs(number) >= 10 * _LARGEST:
        number = Decimal(_LARGEST)  # marked as too large by the caller
    return number.quantize(Decimal("0.000001"), ROUND_HALF_EVEN)


def _low_words(column: pa.Array) -> _Int:
    """The unscaled values of decimals that fit int64: the low half of each 16-byte little-endian word."""
    words = np.frombuffer(column.buffers()[1], np.int64)
    return words[2 * column.offset : 2 * (column.offset + len(column)) : 2].copy()


def _approximate(column: pa.Array) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
    return values

"""Arrays, frames and series of numpy and pandas, without importing either.

What they hold is written as numbers and lists, never as their own pickles.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from langchain_ptc.sandbox.sessions.simple import to_bytes, to_text

Load = Callable[[str], ModuleType]
"""Gives a module that the code may import."""


def take_frame(value: Any) -> list[Any] | None:
    """Return the kind of an object of numpy or pandas and its parts; None if it is none that is known."""
    cls = type(value)
    library = cls.__module__.partition(".")[0]
    if library == "numpy":
        return _take_numpy(value, cls)
    if library == "pandas":
        take = _PANDAS.get(cls.__name__)
        return take(value) if take else None
    return None


# --- numpy ----------------------------------------------------------------------------------------


def _take_numpy(value: Any, cls: Any) -> list[Any] | None:
    np: Any = sys.modules["numpy"]
    if cls is np.ndarray:
        if value.dtype.hasobject:
            if value.dtype != object:
                return None
            return ["np_objects", list(value.shape), value.ravel().tolist()]
        if value.dtype.names is not None:
            return None
        data = to_text(np.ascontiguousarray(value).tobytes())
        return ["np_array", value.dtype.str, list(value.shape), data]
    if isinstance(value, np.generic) and value.dtype.names is None and not value.dtype.hasobject:
        return ["np_scalar", value.dtype.str, to_text(value.tobytes())]
    if isinstance(value, np.dtype) and value.names is None:
        return ["np_dtype", value.str]
    return None


def _numpy(load: Load) -> Any:
    """Return numpy, if the code may import it or pandas, which gives it.

    Raises:
        ImportError: It may import neither.
    """
    try:
        load("numpy")
    except ImportError:
        load("pandas")
    return sys.modules["numpy"]


def _dtype(np: Any, text: Any) -> Any:
    dtype = np.dtype(str(text))
    if dtype.hasobject:
        raise ValueError("an array of objects is no plain data")
    return dtype


def _make_array(load: Load, dtype: str, shape: list[int], data: str) -> Any:
    np = _numpy(load)
    made = np.frombuffer(bytearray(to_bytes(data)), _dtype(np, dtype))
    return made.reshape([int(size) for size in shape])


def _make_objects(load: Load, shape: list[int], values: list[Any]) -> Any:
    np = _numpy(load)
    made = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        made[number] = value
    return made.reshape([int(size) for size in shape])


def _make_scalar(load: Load, dtype: str, data: str) -> Any:
    np = _numpy(load)
    return np.frombuffer(to_bytes(data), _dtype(np, dtype))[0]


def _make_dtype(load: Load, text: str) -> Any:
    np = _numpy(load)
    return np.dtype(str(text))


# --- pandas ---------------------------------------------------------------------------------------


def _take_values(values: Any) -> list[Any]:
    """Describe the values of a column or an index: `[how, type, values]`."""
    dtype = values.dtype
    name = type(dtype).__name__
    if name == "CategoricalDtype":
        return ["categories", bool(dtype.ordered), [values.codes.tolist(), dtype.categories]]
    if name == "DatetimeTZDtype":
        return ["zoned", str(dtype), values.asi8.tolist()]
    if name not in _OF_NUMPY and (hasattr(dtype, "numpy_dtype") or name in _BY_LIST):
        missing = values.isna().tolist()
        plain = [None if gone else v for gone, v in zip(missing, values.tolist(), strict=True)]
        return ["list", str(dtype), plain]
    if name in ("PeriodDtype", "IntervalDtype", "SparseDtype", "ArrowDtype"):
        raise TypeError(f"values of type {dtype} cannot be kept")
    return ["array", None, values.to_numpy()]


_BY_LIST = ("StringDtype", "BooleanDtype")
_OF_NUMPY = ("NumpyEADtype", "PandasDtype")


def _make_values(pd: Any, how: str, dtype: Any, values: Any) -> Any:
    if how == "categories":
        codes, categories = values
        return pd.Categorical.from_codes(codes, categories, ordered=dtype)
    if how == "zoned":
        unit, zone = dtype.removeprefix("datetime64[").removesuffix("]").split(", ")
        stamps = pd.Series(values, dtype=f"datetime64[{unit}]")
        return stamps.dt.tz_localize("UTC").dt.tz_convert(zone).array
    if how == "list":
        return pd.array(values, dtype=dtype)
    return values


def _take_index(index: Any) -> list[Any]:
    kind = type(index).__name__
    if kind == "RangeIndex":
        return ["range", [index.start, index.stop, index.step], index.name]
    if kind == "MultiIndex":
        return ["tuples", index.tolist(), list(index.names)]
    return ["values", _take_values(index.array), index.name, getattr(index, "freqstr", None)]


def _make_index(pd: Any, told: Any) -> Any:
    kind, values, name, *frequency = told
    if kind == "range":
        return pd.RangeIndex(*values, name=name)
    if kind == "tuples":
        return pd.MultiIndex.from_tuples(values, names=name)
    made = pd.Index(_make_values(pd, *values), name=name)
    if frequency and frequency[0] is not None:
        made.freq = frequency[0]
    return made


def _take_data_frame(frame: Any) -> list[Any] | None:
    columns = [_take_values(frame.iloc[:, number].array) for number in range(frame.shape[1])]
    return ["pd_frame", columns, _take_index(frame.columns), _take_index(frame.index)]


def _make_data_frame(load: Load, columns: Any, names: Any, index: Any) -> Any:
    pd: Any = load("pandas")
    rows = _make_index(pd, index)
    made = pd.DataFrame(
        {number: _make_values(pd, *column) for number, column in enumerate(columns)}, index=rows
    )
    made.columns = _make_index(pd, names)
    return made


def _take_series(series: Any) -> list[Any] | None:
    return ["pd_series", _take_values(series.array), _take_index(series.index), series.name]


def _make_series(load: Load, values: Any, index: Any, name: Any) -> Any:
    pd: Any = load("pandas")
    return pd.Series(_make_values(pd, *values), index=_make_index(pd, index), name=name)


def _take_any_index(index: Any) -> list[Any] | None:
    return ["pd_index", _take_index(index)]


def _make_any_index(load: Load, told: Any) -> Any:
    pd: Any = load("pandas")
    return _make_index(pd, told)


def _take_timestamp(value: Any) -> list[Any] | None:
    zone = None if value.tzinfo is None else str(value.tzinfo)
    return ["pd_timestamp", int(value.asm8.view("i8")), value.unit, zone]


def _make_timestamp(load: Load, number: int, unit: str, zone: str | None) -> Any:
    pd: Any = load("pandas")
    made = pd.Timestamp(number, unit=unit).as_unit(unit)
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


def _take_timedelta(value: Any) -> list[Any] | None:
    return ["pd_timedelta", int(value.asm8.view("i8")), value.unit]


def _make_timedelta(load: Load, number: int, unit: str) -> Any:
    pd: Any = load("pandas")
    return pd.Timedelta(number, unit=unit).as_unit(unit)


def _constant(name: str) -> Callable[[Any], list[Any]]:
    return lambda _: ["pd_constant", name]


def _make_constant(load: Load, name: str) -> Any:
    if name not in ("NaT", "NA"):
        raise ValueError(f"pandas has no constant {name!r}")
    return getattr(load("pandas"), name)


_PANDAS: Mapping[str, Callable[[Any], list[Any] | None]] = {
    "DataFrame": _take_data_frame,
    "Series": _take_series,
    **dict.fromkeys(
        (
            "Index",
            "RangeIndex",
            "MultiIndex",
            "DatetimeIndex",
            "CategoricalIndex",
            "TimedeltaIndex",
        ),
        _take_any_index,
    ),
    "Timestamp": _take_timestamp,
    "Timedelta": _take_timedelta,
    "NaTType": _constant("NaT"),
    "NAType": _constant("NA"),
}

FRAME_MAKERS: Mapping[str, Callable[..., Any]] = {
    "np_array": _make_array,
    "np_objects": _make_objects,
    "np_scalar": _make_scalar,
    "np_dtype": _make_dtype,
    "pd_frame": _make_data_frame,
    "pd_series": _make_series,
    "pd_index": _make_any_index,
    "pd_timestamp": _make_timestamp,
    "pd_timedelta": _make_timedelta,
    "pd_constant": _make_constant,
}
"""By tag: makes an object of its parts, given what loads modules."""

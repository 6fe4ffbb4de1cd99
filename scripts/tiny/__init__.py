"""Everything that makes llmatic-tiny, the model that llmatic carries inside its wheel."""

"""How a network is made: plan, weights, network, loader, loop, bundle."""

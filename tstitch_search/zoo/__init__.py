"""The embedded family: small latent diffusion models of Fashion-MNIST, trained by us and shipped with the package."""

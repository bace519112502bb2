"""What others get: the model card, the upload to the Hub, the page in the browser."""

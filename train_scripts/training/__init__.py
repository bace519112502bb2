"""Both stages of training: model, Trainer, batches, augmentation, calibration."""

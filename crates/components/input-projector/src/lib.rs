//! sensorium-input-projector

//! sensorium-media

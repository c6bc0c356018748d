//! sensorium-kernels

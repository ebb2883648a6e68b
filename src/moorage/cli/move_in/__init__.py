"""`moorage move-in`: an IoT Central application, carried over into this hub."""

"""Front end: model files and the zoo in, float `Graph` out. The only room that imports TVM."""

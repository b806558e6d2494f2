// Decorated classes need it before anything else is loaded, as in the main file of a Nest application.
import 'reflect-metadata';

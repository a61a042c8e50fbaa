//! Claims about attention: linear attention, H3 and Hyena are what the chapters say they are.

mod forms;
mod heads;
mod hyena;
